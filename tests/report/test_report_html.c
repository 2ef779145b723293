/* SPDX-License-Identifier: BSD-2-Clause */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../check.h"
#include "helper_html.h"
#include "report/figure.h"
#include "report/html.h"

static char *written;
static size_t written_bytes;

static FILE *begin(void)
{
	FILE *out = open_memstream(&written, &written_bytes);

	assert_non_null(out);
	return out;
}

static void expect(FILE *out, const char *text)
{
	assert_int_equal(fclose(out), 0);
	assert_string_equal(written, text);
	free(written);
}

static void text_is_escaped(void **state)
{
	FILE *out = begin();

	(void)state;
	aqm_html_text(out, "<script>\"a\" & 'b'</script>");
	expect(out, "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;&lt;/script&gt;");
	out = begin();
	aqm_html_text(
		out, "\xce\xbb \xff\xc0\xaf\x01 \xed\xa0\x80\tend"); /* lambda; not UTF-8; overlong; a control; a surrogate */
	expect(out, "\xce\xbb \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\tend");
	out = begin();
	aqm_html_text(out, "\xe2\x82"); /* cut: nothing is read beyond the end */
	expect(out, "\xef\xbf\xbd\xef\xbf\xbd");
}

static void numbers_are_readable(void **state)
{
	static const struct {
		double value;
		int digits;
		const char *text;
	} cases[] = {
		{0.98271234, 4, "0.9827"},
		{12.3456, 4, "12.35"},
		{0.00123456, 3, "0.00123"},
		{67108864, 0, "67,108,864"},
		{-2.5, 3, "&#8722;2.50"},
		{55, 4, "55.00"},
		{0, 3, "0.000"},
		{1795, 0, "1795"},
		{1e9, 3, "1e+09"},
		{1e-9, 3, "1e-09"},
		{999, 3, "999"},
		{10000, 0, "10,000"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		FILE *out = begin();

		aqm_html_number(out, cases[i].value, cases[i].digits);
		expect(out, cases[i].text);
	}
	FILE *out = begin();
	aqm_html_number(out, NAN, 3);
	aqm_html_number(out, INFINITY, 3);
	aqm_html_number(out, -INFINITY, 0);
	expect(out, "&#8211;&#8211;&#8211;");
	out = begin();
	aqm_html_interval(out, 2, 1.5, 2.5, 3);
	aqm_html_interval(out, 2, NAN, 2.5, 3);
	expect(out, "2.00 <span class=\"ci\">1.5 to 2.5</span>2.00");
}

/* The checker that the other tests rely on finds what it is to find. */
static void checker_finds_faults(void **state)
{
	static const char *const bad[] = {
		"<html></html>",
		"<!DOCTYPE html>\n<html><p></html>",
		"<!DOCTYPE html>\n<html>a & b</html>",
		"<!DOCTYPE html>\n<html>a > b</html>",
		"<!DOCTYPE html>\n<html a=b></html>",
		"<!DOCTYPE html>\n<html a=\"1\" a=\"2\"></html>",
		"<!DOCTYPE html>\n<html><script></script></html>",
		"<!DOCTYPE html>\n<html><p onclick=\"x\"></p></html>",
		"<!DOCTYPE html>\n<html><img src=\"http://example.org/x.png\"/></html>",
		"<!DOCTYPE html>\n<html><a href=\"//example.org\"></a></html>",
		"<!DOCTYPE html>\n<html><a href=\"#nowhere\"></a></html>",
		"<!DOCTYPE html>\n<html><p id=\"a\"></p><p id=\"a\"></p></html>",
		"<!DOCTYPE html>\n<html><style>@import 'x';</style></html>",
		"<!DOCTYPE html>\n<html><style>a{background:url(x)}</style></html>",
		"<!DOCTYPE html>\n<html><svg></svg></html>",
		"<!DOCTYPE html>\n<html><figure></figure></html>",
		"<!DOCTYPE html>\n<html>",
	};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (!html_fault(bad[i]))
			fail_msg("nothing found in: %s", bad[i]);
	assert_null(
		html_fault("<!DOCTYPE html>\n<html><svg role=\"img\" aria-labelledby=\"t\"><title id=\"t\">x</title></svg>"
	               "<a href=\"#t\">&#8211; &amp;</a><br/></html>"));
}

static void head_and_tail_are_a_page(void **state)
{
	FILE *out = begin();

	(void)state;
	aqm_html_head(out, "</title><script>");
	aqm_html_table_begin(out, "a \"label\"", "num");
	aqm_html_header(out, (const char *const[]){"<a>", "b", NULL});
	fputs("<tbody><tr>", out);
	aqm_html_cell(out, 1, 3);
	aqm_html_cell_text(out, "<&>");
	fputs("</tr></tbody>", out);
	aqm_html_table_end(out);
	aqm_html_tail(out);
	assert_int_equal(fclose(out), 0);
	const char *fault = html_fault(written);
	if (fault)
		fail_msg("%s", fault);
	assert_non_null(strstr(written, "prefers-color-scheme:dark"));
	assert_non_null(strstr(written, "width=device-width"));
	assert_non_null(strstr(written, "default-src 'none'"));
	free(written);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_is_escaped),
		cmocka_unit_test(numbers_are_readable),
		cmocka_unit_test(checker_finds_faults),
		cmocka_unit_test(head_and_tail_are_a_page),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
