/*
 * test/unit/support/zai.h - how the tests of the zai adapter begin, and events to answer with.
 */
#ifndef DRAGOMAN_TEST_ZAI_H
#define DRAGOMAN_TEST_ZAI_H

#include "test/unit/support/transcript.h"

/* {"id":"u-1","email":"a@b.c"} */
#define ZAI_JWT      "eyJhbGciOiJIUzI1NiJ9.eyJpZCI6InUtMSIsImVtYWlsIjoiYUBiLmMifQ.c2ln"
#define ZAI_NEW_CHAT "{\"id\":\"chat-1\"}"
#define ZAI_DONE     "{\"phase\":\"done\",\"done\":true}"
#define EVENTS(...)  ((const char *const[]){__VA_ARGS__, NULL})

/* An account with the token ZAI_JWT; the first form. */
struct transcript_setup zai_setup(const char *model, const char *body);
/* The second form: `api` is set; with `native` also `roles`. */
void zai_use_v2(struct transcript_setup *, bool native);
/* Appends the stream of these events, each the inside of `data`; the list ends with NULL. */
void zai_stream(struct buffer *out, const char *const *events);

#endif
