/*
 * gateway/landing.h - the page at `/`: what this is, the base URL to paste, the models.
 */
#ifndef DRAGOMAN_GATEWAY_LANDING_H
#define DRAGOMAN_GATEWAY_LANDING_H

#include "gateway/catalogue.h"

/* A whole HTML page, no scripts, nothing loaded from elsewhere. `base` e.g.
 * "http://127.0.0.1:8080/v1". Model ids are listed only when `show_models`. */
void landing_page(struct buffer *out, struct catalogue *, const struct config *, struct span base,
                  bool show_models);

#endif
