/* wire/codec.h - archives of framed messages: bytes <-> structs. */
#ifndef NX_WIRE_CODEC_H
#define NX_WIRE_CODEC_H

#include "nexar/base.h"
#include "wire/message.h"

/* Reads the archive of one message (without its 8-byte header).  Everything in `out` points into the archive; nothing
 * is allocated, whatever lengths it announces.  It accepts what the reference's reader accepts and nothing else.
 * NEXAR_EPROTO with the reason; `out` is then zero. */
nexar_status nx_message_decode(const uint8_t *archive, size_t n, struct nx_message *out);

/* Bytes of the message's archive: NEXAR_EINVAL if it has none, because the kind is unknown, a text is not UTF-8 or the
 * archive would be larger than NX_ARCHIVE_MAX. */
nexar_status nx_message_size(const struct nx_message *m, size_t *n);

/* Writes the archive, the same bytes as the reference's writer.  `n` must be what nx_message_size gave. */
nexar_status nx_message_encode(const struct nx_message *m, uint8_t *out, size_t n);

#endif
