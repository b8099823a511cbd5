/*
 * gateway/shape_book.c - see shape_book.h.
 */
#include "gateway/shape_book.h"

#include <stdlib.h>

struct json_shapes *shape_book_of(struct shape_book *book, const struct site_config *site)
{
    unsigned i = 0, oldest = 0;
    if (site == book->list[book->last].site)
        return book->list[book->last].shapes;
    for (; i < SHAPE_BOOK_SITES && book->list[i].site != site; i++) {
        if (book->list[i].used < book->list[oldest].used)
            oldest = i;
    }
    if (i == SHAPE_BOOK_SITES) {
        i = oldest;
        if (book->list[i].shapes)
            json_shapes_free(book->list[i].shapes);
        else
            book->list[i].shapes = calloc(1, sizeof *book->list[i].shapes);
        book->list[i].site = book->list[i].shapes ? site : NULL;
    }
    book->list[i].used = ++book->clock;
    book->last = i;
    return book->list[i].shapes;
}

void shape_book_clear(struct shape_book *book)
{
    for (unsigned i = 0; i < SHAPE_BOOK_SITES; i++) {
        if (book->list[i].shapes)
            json_shapes_free(book->list[i].shapes);
        free(book->list[i].shapes);
    }
    *book = (struct shape_book){.clock = 0};
}
