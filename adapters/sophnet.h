/*
 * adapters/sophnet.h - between the parts of the adapter sophnet.
 */
#ifndef DRAGOMAN_ADAPTERS_SOPHNET_H
#define DRAGOMAN_ADAPTERS_SOPHNET_H

#include "adapters/adapter.h"
#include "adapters/openai_wire.h"

enum { SOPHNET_REASONING_EDITS = 3 };
/* The edits of the client's body that the turn's wish for reasoning needs: how many, or -1 with
 * run->fail. */
int sophnet_tell_reasoning(struct turn_run *, struct body_edit *edits);

#endif
