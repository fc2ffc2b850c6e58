/* identity/x509.c - strict parsing of certificates, and OpenSSL's errors as sentences.
 *
 * Owner: none, no state.  It says whether bytes are a certificate and what name is in it; whether to believe it is
 * verify.c's business. */
#include "identity/x509.h"

#include "base/status.h"

#include <string.h>

#include <openssl/x509v3.h>

nexar_status nx_openssl_fail(const char *doing)
{
    unsigned long error = ERR_peek_last_error();
    const char *reason = ERR_reason_error_string(error);

    if (ERR_GET_REASON(error) == ERR_R_MALLOC_FAILURE)
        return nx_fail(NEXAR_ENOMEM, "no memory for %s", doing);
    return nx_fail(NEXAR_ESYSTEM, "%s failed: %s", doing, reason == NULL ? "no reason given" : reason);
}

nexar_status nx_x509_parse(const char *whose, const void *der, size_t size, X509 **out)
{
    const uint8_t *at = der;
    uint8_t *again = NULL;
    X509 *x;
    int length;
    bool same;

    *out = NULL;
    if (size > NX_CERTIFICATE_LIMIT)
        return nx_fail(NEXAR_EAUTH, "%s has %zu bytes; the limit is %d", whose, size, NX_CERTIFICATE_LIMIT);
    x = d2i_X509(NULL, &at, (long)size);
    if (x == NULL)
        return nx_fail(NEXAR_EAUTH, "%s is not a certificate", whose);
    if (at != (const uint8_t *)der + size) {
        X509_free(x);
        return nx_fail(NEXAR_EAUTH, "%s is followed by stray bytes (%zu)", whose,
                       size - (size_t)(at - (const uint8_t *)der));
    }
    /* One certificate, one encoding, one fingerprint. */
    length = i2d_X509(x, &again);
    same = length > 0 && (size_t)length == size && memcmp(again, der, size) == 0;
    OPENSSL_free(again);
    if (!same) {
        X509_free(x);
        return nx_fail(NEXAR_EAUTH, "%s is not in DER", whose);
    }
    if ((X509_get_extension_flags(x) & EXFLAG_INVALID) != 0) {
        X509_free(x);
        return nx_fail(NEXAR_EAUTH, "%s has malformed extensions, or one of them twice", whose);
    }
    *out = x;
    return NEXAR_OK;
}

nexar_status nx_x509_encode(X509 *x, struct nx_der *out)
{
    int size = i2d_X509(x, NULL);
    uint8_t *at;

    *out = (struct nx_der){0};
    if (size <= 0)
        return nx_openssl_fail("encoding a certificate");
    at = nx_alloc((size_t)size);
    if (at == NULL)
        return nx_fail(NEXAR_ENOMEM, "no memory for a certificate");
    *out = (struct nx_der){.data = at, .size = (size_t)size};
    i2d_X509(x, &at);
    return NEXAR_OK;
}

static bool is_localhost(const ASN1_IA5STRING *text)
{
    static const char host[] = "localhost";

    return ASN1_STRING_length(text) == (int)sizeof(host) - 1 &&
           memcmp(ASN1_STRING_get0_data(text), host, sizeof(host) - 1) == 0;
}

bool nx_x509_name(X509 *x, struct nx_name *out)
{
    /* NULL also when there are several such extensions. */
    GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    int uris = 0, hosts = 0, others = 0;
    struct nx_name name = {0};

    if (names == NULL)
        return false;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        int type;
        const ASN1_STRING *value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &type);

        if (type == GEN_URI &&
            nx_name_parse((const char *)ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value), &name))
            uris++;
        else if (type == GEN_DNS && is_localhost(value))
            hosts++;
        else
            others++;
    }
    GENERAL_NAMES_free(names);
    if (uris != 1 || others != 0 || hosts != (name.role == NX_ROLE_CA ? 0 : 1))
        return false;
    *out = name;
    return true;
}
