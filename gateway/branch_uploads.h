/*
 * gateway/branch_uploads.h - a branch and the files that its account's site has already
 * (upload_book.h).
 */
#ifndef DRAGOMAN_GATEWAY_BRANCH_UPLOADS_H
#define DRAGOMAN_GATEWAY_BRANCH_UPLOADS_H

#include "gateway/branch.h"

/* For the run that begins: what the adapter asks the book through. */
void branch_offer_uploads(struct branch *);
/* Did the run fail as if the site had forgotten a file that it was told of? Then they are forgotten
 * here as well, and no further run of the branch is told of any: once. */
bool branch_uploads_are_gone(struct branch *, enum fail_kind);

#endif
