/*
 * adapters/registry.c - every adapter of this build. A new site adds one line here.
 */
#include "adapters/adapter.h"

const struct adapter *const adapters[] = {
    &adapter_anthropic, &adapter_chatglm, &adapter_demo, &adapter_gemini,
    &adapter_openai,    &adapter_sophnet, &adapter_zai,  NULL};

const struct adapter *adapter_find(struct span name)
{
    for (size_t i = 0; adapters[i]; i++) {
        if (span_eq(name, span_str(adapters[i]->name)))
            return adapters[i];
    }
    return NULL;
}
