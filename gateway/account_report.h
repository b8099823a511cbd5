/*
 * gateway/account_report.h - how the accounts are: as JSON from the pool, and as a table for
 * people.
 */
#ifndef DRAGOMAN_GATEWAY_ACCOUNT_REPORT_H
#define DRAGOMAN_GATEWAY_ACCOUNT_REPORT_H

#include "gateway/account_pool.h"
#include "gateway/drift.h"

/* {"running":true,"accounts":[{"site","account","state","until","models":[{…}],"in_flight",
 * "requests_today","requests","failures","last_error"}],"drift":[{"site","kind",
 * "last_hour","total","last"}]}; times are Unix seconds. `pool` NULL: nothing is known but the
 * configured accounts; `drift` NULL: nothing of it. Drift is that of the last hour. */
void account_report_json(struct buffer *out, struct account_pool *, const struct drift *,
                         const struct config *, bool running, uint64_t now_ms, int64_t wall_ms);
/* That JSON as lines of text; `wall_ms` for "in 5 min". 0, or -1 when it is no such JSON. */
int account_report_table(struct buffer *out, struct span json, int64_t wall_ms);

#endif
