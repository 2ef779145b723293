/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Bytes that are to be text.
 */
#include <stdlib.h>
#include <string.h>

#include "../check.h"
#include "base/utf8.h"

#define R "\xef\xbf\xbd"

static void bytes_become_text(void **state)
{
	static const char *const cases[][2] = {
		{"", ""},
		{"plain", "plain"},
		{"caf\xc3\xa9", "caf\xc3\xa9"},
		{"\xe2\x82\xac\xf0\x9f\x98\x80", "\xe2\x82\xac\xf0\x9f\x98\x80"},
		{"caf\xe9", "caf" R},
		{"\xe9t\xe9", R "t" R},
		{"a\xe2\x82", "a" R R},        /* cut off */
		{"\xc0\xaf", R R},             /* overlong */
		{"\xed\xa0\x80", R R R},       /* half a surrogate pair */
		{"\xf4\x90\x80\x80", R R R R}, /* beyond U+10FFFF */
		{"\xff\xfe", R R},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char *text = aqm_utf8_text(cases[i][0]);

		assert_string_equal(text, cases[i][1]);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(bytes_become_text)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
