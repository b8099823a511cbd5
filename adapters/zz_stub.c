#include "adapters/support.h"
const struct adapter adapter_zai = {.name="zai",.title="stub",.origin="https://chat.z.ai"};
struct span jwt_payload(struct arena *a, struct span t){(void)a;(void)t;return span_of(NULL,0);}
struct span message_text(struct arena *a, const struct message *m){(void)a;return m->n_parts? m->parts[0].text: span_of("",0);}
struct span flatten_messages(struct arena *a, const struct message *m, size_t n){(void)n;return message_text(a,m);}
int percent_encode(struct buffer *o, struct span t){return buffer_append(o,t);}
struct span base64_decode(struct arena *a, struct span t){(void)a;return t;}
