/*
 * gateway/main.c - the program: parse the command line, run the command.
 */
#include "gateway/cli.h"
#include "gateway/heap.h"
#include "gateway/serve.h"

int main(int argc, char **argv)
{
    struct cli cli;
    struct buffer error;
    heap_settle();
    buffer_init(&error, 8192);
    if (cli_parse(argc, argv, &cli, &error) != 0) {
        fwrite(error.p, 1, error.n, stderr);
        buffer_free(&error);
        return EXIT_USAGE;
    }
    return cli_run(&cli, serve, stdout, stderr);
}
