/* identity/secret.h - the secret that ranks may share instead of a join string (NEXAR_SECRET, NEXAR_SECRET_FILE).
 *
 *  Whoever can ask the seed for one proof can try guesses offline, so a secret must be beyond guessing: 128 bits.
 *  What cannot be measured is judged by an upper bound: its length times the bits of one character drawn at random
 *  from the kinds of characters that occur in it, and at least 6 different characters.
 *
 *      only                                  bits each     at least
 *      digits                                3.32          39 characters
 *      hexadecimal digits of one case        4             32
 *      letters of one case                   4.7           28
 *      letters of one case and digits        5.17          25
 *      letters                               5.7           23
 *      letters and digits, base64            5.95, 6       22
 *      anything printable                    6.55          20
 *      any bytes                             8             16
 *
 *  A long sentence of common words passes; nothing but the advice of the error (32 random bytes) helps against that. */
#ifndef NX_IDENTITY_SECRET_H
#define NX_IDENTITY_SECRET_H

#include "identity/proof.h"

#define NX_SECRET_LIMIT 4096

/* `size` bytes; one line end at the end (LF or CR LF) is not part of the secret.  `source` names it in errors.
 * NEXAR_ECONFIG, without a character of it, if it is too weak. */
nexar_status nx_secret_from_bytes(const char *source, const void *bytes, size_t size, struct nx_proof_key *out);

/* From a file that nobody else may read (identity/private_file.h).  As above, and NEXAR_ESYSTEM, NEXAR_ENOMEM. */
nexar_status nx_secret_from_file(const char *path, struct nx_proof_key *out);

#endif
