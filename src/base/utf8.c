/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/utf8.h"

#include <stdint.h>
#include <string.h>

#include "base/size.h"

size_t aqm_utf8_length(const char *text)
{
	const uint8_t *s = (const uint8_t *)text;
	size_t n = s[0] == 0     ? 0
	           : s[0] < 0x80 ? 1
	           : s[0] < 0xc2 ? 0
	           : s[0] < 0xe0 ? 2
	           : s[0] < 0xf0 ? 3
	           : s[0] < 0xf5 ? 4
	                         : 0;

	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
	    (s[0] == 0xf4 && s[1] > 0x8f)) /* overlong, surrogates, too large */
		return 0;
	if (n == 3 && s[0] == 0xef && s[1] == 0xbf && s[2] >= 0xbe) /* U+FFFE and U+FFFF are no characters of XML */
		return 0;
	return n;
}

char *aqm_utf8_text(const char *text)
{
	static const char replacement[] = "\xef\xbf\xbd";
	char *clean = aqm_malloc_array(strlen(text) + 1, sizeof replacement - 1), *at = clean;

	while (clean && *text) {
		size_t n = aqm_utf8_length(text), bytes = n ? n : sizeof replacement - 1;

		memcpy(at, n ? text : replacement, bytes);
		at += bytes;
		text += n ? n : 1;
	}
	if (clean)
		*at = '\0';
	return clean;
}
