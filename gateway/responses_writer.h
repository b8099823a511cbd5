/*
 * gateway/responses_writer.h - what api_responses.c asks of the writer of Response objects beside
 * what all writers do (write_responses.c).
 */
#ifndef DRAGOMAN_GATEWAY_RESPONSES_WRITER_H
#define DRAGOMAN_GATEWAY_RESPONSES_WRITER_H

#include "gateway/answer_writer.h"
#include "gateway/responses_request.h"

/* Whole answers have no `out`. */
struct answer_writer *responses_writer(struct arena *, const struct answer_meta *,
                                       const struct responses_request *, struct buffer *out);
/* When every choice is finished: {"response":{…},"input":[…]}, what a later request goes on from.
 * 0 or the buffer's error. */
int responses_writer_record(struct answer_writer *, const struct usage_counts *,
                            struct buffer *out);
/* It could not be stored: the Response says so. */
void responses_writer_not_stored(struct answer_writer *);

#endif
