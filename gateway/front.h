/*
 * gateway/front.h - the HTTP surface (design §5): which path does what, before anything is known of
 * chats.
 */
#ifndef DRAGOMAN_GATEWAY_FRONT_H
#define DRAGOMAN_GATEWAY_FRONT_H

#include "gateway/engine.h"

/* The handler to give to http_server_create; `engine` must outlive the server. */
struct http_handler front_handler(struct engine *);

#endif
