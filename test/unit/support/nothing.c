/* Keeps the library from being empty before the first shared piece is written. */
extern int test_support_nothing;
int test_support_nothing;
