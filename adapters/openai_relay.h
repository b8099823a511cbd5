/*
 * adapters/openai_relay.h - requests to OpenAI-like services that are not chats: they travel as
 * they are, only the model's name is the site's own.
 */
#ifndef DRAGOMAN_ADAPTERS_OPENAI_RELAY_H
#define DRAGOMAN_ADAPTERS_OPENAI_RELAY_H

#include "adapters/adapter.h"

/* Everything but the credential. 0, or -1 with run->fail. */
int openai_relay_request(struct turn_run *, struct site_request *);
/* Both always fail: the body ended too early; and the last look at a failure: a relay's 404 means
 * that the site has no such endpoint (or model). */
enum adapter_verdict openai_relay_broke_off(struct turn_run *);
enum adapter_verdict openai_relay_failed(struct turn_run *, int status);

#endif
