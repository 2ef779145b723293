/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Text that must be UTF-8. Paths and arguments of commands are bytes: what JSON or a page is to say of them goes through
 * here.
 */
#ifndef AQM_BASE_UTF8_H
#define AQM_BASE_UTF8_H

#include <stddef.h>

/* Bytes of the well-formed UTF-8 character at `text`, 0 if there is none (a NUL, too). */
size_t aqm_utf8_length(const char *text);
/* The text with U+FFFD for every byte that belongs to no character. Owned by the caller; NULL, with a message, without
 * memory. */
char *aqm_utf8_text(const char *text);

#endif
