/*
 * gateway/toml.cpp - toml++ behind a C face; one of the project's two C++ files.
 *
 * toml++ builds its own tree; it is copied into the caller's arena and thrown away. The hard part is depth: toml++ limits
 * nested values but not dotted keys, and a tree is destroyed recursively, so a key of 100,000 dots would end on the
 * stack. Keys are therefore counted first, by a scan that knows just enough of TOML to skip strings and comments.
 */
#define TOML_EXCEPTIONS        0
#define TOML_MAX_NESTED_VALUES 32
#include "gateway/toml.h"

extern "C" {
#include "base/arena.h"
}

#include <cstdio>
#include <exception>
#include <new>
#include <string_view>
#include <toml++/toml.h>

static_assert(TOML_MAX_NESTED_VALUES == TOML_DEPTH_LIMIT, "the header says what the parser does");

namespace
{

void set_error(toml_error *error, int line, int column, std::string_view text)
{
    error->line = line;
    error->column = column;
    std::snprintf(error->message, sizeof error->message, "%.*s", static_cast<int>(text.size()),
                  text.data());
}

/* Behind the string that starts at `at`; an unterminated one ends with its line or the text. */
size_t skip_string(std::string_view text, size_t at)
{
    const char quote = text[at];
    const bool basic = quote == '"';
    const bool multi = text.substr(at, 3) == std::string_view(basic ? "\"\"\"" : "'''");
    at += multi ? 3 : 1;
    while (at < text.size()) {
        if (basic && text[at] == '\\') {
            at += 2;
        } else if (text[at] == quote && !multi) {
            return at + 1;
        } else if (multi && text[at] == quote && at + 2 < text.size() && text[at + 1] == quote &&
                   text[at + 2] == quote) {
            at += 3;
            while (at < text.size() &&
                   text[at] == quote) /* up to two quotes may stand before the end */
                at++;
            return at;
        } else if (text[at] == '\n' && !multi) {
            return at;
        } else {
            at++;
        }
    }
    return text.size();
}

bool keys_are_shallow(std::string_view text, toml_error *error)
{
    int line = 1, dots = 0;
    size_t counted = 0; /* lines up to here are in `line` */
    for (size_t at = 0; at < text.size();) {
        const char c = text[at];
        if (c == '"' || c == '\'') {
            at = skip_string(text, at);
            continue;
        }
        if (c == '#') {
            at = text.find('\n', at);
            if (at == std::string_view::npos)
                return true;
            continue;
        }
        if (c == '.' && ++dots > TOML_DOTS_LIMIT) {
            for (; counted < at; counted++)
                line += text[counted] == '\n';
            set_error(error, line, 1, "a key of more than 16 parts: this is no configuration");
            return false;
        }
        if (c == '\n' || c == '=' || c == ',' || c == '{' || c == '[')
            dots = 0;
        at++;
    }
    return true;
}

toml_node *new_node(arena *memory)
{
    auto *node = static_cast<toml_node *>(arena_alloc(memory, sizeof(toml_node)));
    if (!node)
        throw std::bad_alloc();
    return node;
}

span copy(arena *memory, std::string_view text)
{
    span s = arena_dup(memory, span_of(text.data(), text.size()));
    if (!s.p)
        throw std::bad_alloc();
    return s;
}

toml_node *convert(arena *memory,
                   const toml::node &from) // NOLINT(misc-no-recursion): depth is bounded above
{
    toml_node *node = new_node(memory);
    node->line = static_cast<int>(from.source().begin.line);
    node->column = static_cast<int>(from.source().begin.column);
    if (const auto *table = from.as_table()) {
        node->type = TOML_TABLE;
        toml_node **tail = &node->first;
        for (auto &&[key, value] : *table) {
            toml_node *member = convert(memory, value);
            member->key = copy(memory, key.str());
            member->key_line = static_cast<int>(key.source().begin.line);
            member->key_column = static_cast<int>(key.source().begin.column);
            *tail = member;
            tail = &member->next;
            node->count++;
        }
    } else if (const auto *array = from.as_array()) {
        node->type = TOML_ARRAY;
        toml_node **tail = &node->first;
        for (auto &&element : *array) {
            *tail = convert(memory, element);
            tail = &(*tail)->next;
            node->count++;
        }
    } else if (const auto *text = from.as_string()) {
        node->type = TOML_TEXT;
        node->text = copy(memory, text->get());
    } else if (const auto *integer = from.as_integer()) {
        node->type = TOML_INT;
        node->integer = integer->get();
        node->number = static_cast<double>(integer->get());
    } else if (const auto *number = from.as_floating_point()) {
        node->type = TOML_FLOAT;
        node->number = number->get();
    } else if (const auto *boolean = from.as_boolean()) {
        node->type = TOML_BOOL;
        node->integer = boolean->get() ? 1 : 0;
    } else {
        node->type = TOML_DATE;
    }
    return node;
}

} // namespace

extern "C" struct toml_node *toml_parse(struct arena *memory, struct span text,
                                        struct toml_error *error)
{
    *error = toml_error{};
    if (text.n > TOML_SIZE_LIMIT) {
        set_error(error, 0, 0, "larger than 1 MiB: this is no configuration");
        return nullptr;
    }
    const std::string_view view(text.n ? text.p : "", text.n);
    if (!keys_are_shallow(view, error))
        return nullptr;
    try {
        const toml::parse_result result = toml::parse(view);
        if (!result) {
            const toml::parse_error &e = result.error();
            set_error(error, static_cast<int>(e.source().begin.line),
                      static_cast<int>(e.source().begin.column), e.description());
            return nullptr;
        }
        return convert(memory, result.table());
    } catch (const std::exception &) {
        set_error(error, 0, 0, "not enough memory to read it");
        return nullptr;
    }
}

extern "C" struct toml_node *toml_get(const struct toml_node *table, const char *name)
{
    if (table->type != TOML_TABLE)
        return nullptr;
    for (toml_node *member = table->first; member; member = member->next) {
        if (span_eq(member->key, span_str(name)))
            return member;
    }
    return nullptr;
}

extern "C" const char *toml_describe(const struct toml_node *node)
{
    switch (node->type) {
    case TOML_TABLE: return "a table";
    case TOML_ARRAY:
        return node->first && node->first->type == TOML_TABLE ? "an array of tables" : "an array";
    case TOML_TEXT: return "a string";
    case TOML_INT: return "an integer";
    case TOML_FLOAT: return "a decimal number";
    case TOML_BOOL: return "a boolean";
    case TOML_DATE: return "a date or time";
    }
    return "something else";
}
