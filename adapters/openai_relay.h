/*
 * adapters/openai_relay.h - requests to OpenAI-like services that are not chats: they travel as
 * they are, only the model's name is the site's own.
 */
#ifndef DRAGOMAN_ADAPTERS_OPENAI_RELAY_H
#define DRAGOMAN_ADAPTERS_OPENAI_RELAY_H

#include "adapters/adapter.h"

/* Everything but the credential. 0, or -1 with run->fail. */
int openai_relay_request(struct turn_run *, struct site_request *);
/* The last look at a verdict about an answer of that status: a failed relay's 404 or 405 means that
 * the site has no such endpoint (or model). Everything else stays as it is. */
enum adapter_verdict openai_relay_verdict(struct turn_run *, int status, enum adapter_verdict);

#endif
