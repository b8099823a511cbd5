/*
 * gateway/main.c - the program: parse the command line, run the command.
 */
#include <malloc.h>

#include "gateway/cli.h"
#include "gateway/serve.h"

/*
 * glibc gives the end of the heap back to the kernel whenever 128 KiB of it are free, and asks for
 * it anew a moment later: two calls and a few page faults a request, when some are under way at
 * once. A few MiB may stay. What is large (bodies with pictures) goes back at once, wherever it
 * lies.
 */
static void settle_heap(void)
{
#ifdef __GLIBC__
    enum { STAYS = 4 << 20, LARGE = 1 << 20 };
    mallopt(M_TRIM_THRESHOLD, STAYS);
    mallopt(M_MMAP_THRESHOLD, LARGE);
#endif
}

int main(int argc, char **argv)
{
    struct cli cli;
    struct buffer error;
    settle_heap();
    buffer_init(&error, 8192);
    if (cli_parse(argc, argv, &cli, &error) != 0) {
        fwrite(error.p, 1, error.n, stderr);
        buffer_free(&error);
        return EXIT_USAGE;
    }
    return cli_run(&cli, serve, stdout, stderr);
}
