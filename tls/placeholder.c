extern int tls_placeholder; int tls_placeholder;
