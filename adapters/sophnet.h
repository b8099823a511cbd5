/*
 * adapters/sophnet.h - what the files of the sophnet adapter share (docs/sites/sophnet.md).
 */
#ifndef DRAGOMAN_ADAPTERS_SOPHNET_H
#define DRAGOMAN_ADAPTERS_SOPHNET_H

#include "adapters/openai_wire.h"
#include "adapters/support.h"

#define SOPHNET_HELD_TOKEN "anonymous_token" /* what the account holds */

enum sophnet_door { SOPHNET_OFFICIAL, SOPHNET_PLAYGROUND };
enum sophnet_at { SOPHNET_ASK, SOPHNET_LOGIN, SOPHNET_CHAT, SOPHNET_OVER };

struct sophnet {
    enum sophnet_at at;
    struct span token; /* what this turn sends: a key, or with "anon-" */
    bool guest;        /* the token is one that we asked for */
    bool renewed;      /* a fresh one was asked for in this turn after a refusal */
    bool refused;      /* the last answer refused the token; a fresh one is worth a try */
    struct openai_wire wire;
    int login_status, login_retry_after_s;
    struct span login_type;
};

/* ---- the doors (sophnet.c) ---- */
enum sophnet_door sophnet_door_of(const struct turn_run *);
bool sophnet_is_anonymous(struct span token);
/* The credential this turn goes with, in order: api_key, token, a guest token that is held. Empty:
 * ask for one. */
struct span sophnet_find_token(const struct turn_run *, bool *guest);
/* 0, or -1 with run->fail. */
int sophnet_add_bearer(struct turn_run *, struct site_request *, struct span token);

/* ---- the chat's request (sophnet_body.c) ---- */
struct span sophnet_project(const struct turn_run *);
/* For adapter->base_model: the id without `-Search`. */
struct span sophnet_without_search(struct span id);
/* 0, or -1 with run->fail. */
int sophnet_write_body(struct turn_run *, enum sophnet_door, struct span *body);
/* The edits of the client's body that the turn's wish for reasoning needs (sophnet_reasoning.c):
 * how many, or -1 with run->fail. */
enum { SOPHNET_REASONING_EDITS = 3 };
int sophnet_tell_reasoning(struct turn_run *, struct body_edit *edits);
/* {NULL,0} when memory is short. */
struct span sophnet_chat_target(struct turn_run *, enum sophnet_door);

/* ---- the guest's token (sophnet_guest.c) ---- */
enum adapter_step sophnet_ask_login(struct sophnet *, struct site_request *);
enum adapter_verdict sophnet_read_login(struct turn_run *, struct span body);

/* ---- models (sophnet_models.c) ---- */
extern const struct model_entry sophnet_models[];
enum adapter_step sophnet_models_request(struct turn_run *, struct site_request *);
int sophnet_models_answer(struct turn_run *, struct span body, const struct model_sink *);
int sophnet_models_refused(struct turn_run *, int status, struct span content_type,
                           int retry_after_s, struct span body);

/* ---- failures (sophnet_errors.c): all fill run->fail ---- */
extern const struct openai_dialect sophnet_dialect;
int sophnet_challenged(struct turn_run *);
bool sophnet_speaks_of_captcha(struct span message);
/* A status that is not 2xx, or a web page. */
enum adapter_verdict sophnet_failure(struct turn_run *, int status, struct span content_type,
                                     int retry_after_s, struct span body);

#endif
