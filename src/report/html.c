/* SPDX-License-Identifier: BSD-2-Clause
 *
 * The small pieces of a page.
 */
#include "report/html.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

/* ---- text ---- */

static void put_character(FILE *out, const char *at, size_t n)
{
	switch (*at) {
	case '&':
		fputs("&amp;", out);
		break;
	case '<':
		fputs("&lt;", out);
		break;
	case '>':
		fputs("&gt;", out);
		break;
	case '"':
		fputs("&quot;", out);
		break;
	case '\'':
		fputs("&#39;", out);
		break;
	default:
		fwrite(at, 1, n, out);
	}
}

void aqm_html_text(FILE *out, const char *text)
{
	while (*text) {
		size_t n = aqm_utf8_length(text);
		bool control = n == 1 && ((uint8_t)*text < 0x20 || *text == 0x7f) && *text != '\n' && *text != '\t';

		if (n == 0 || control)
			fputs("\xef\xbf\xbd", out);
		else
			put_character(out, text, n);
		text += n ? n : 1;
	}
}

void aqm_html_textf(FILE *out, const char *format, ...)
{
	char *text = NULL;
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(&text, format, arguments) < 0)
		text = NULL;
	va_end(arguments);
	if (text)
		aqm_html_text(out, text);
	free(text);
}

/* ---- numbers ---- */

/* 67,108,864 */
static void put_grouped(FILE *out, double size)
{
	char text[32];
	int length = snprintf(text, sizeof text, "%.0f", size);

	for (int i = 0; i < length; i++) {
		if (i && length > 4 && (length - i) % 3 == 0)
			fputc(',', out);
		fputc(text[i], out);
	}
}

void aqm_html_number(FILE *out, double value, int digits)
{
	double size = fabs(value);

	if (!isfinite(value)) {
		fputs("&#8211;", out); /* an en dash */
		return;
	}
	if (value < 0)
		fputs("&#8722;", out); /* a minus sign */
	if (digits <= 0 && size < 1e15)
		put_grouped(out, size);
	else if (size == 0 || (size < 1e7 && size >= 0.01)) { /* trailing zeros stay, so that columns line up */
		int whole = size < 1 ? 0 : (int)floor(log10(size)) + 1;

		fprintf(out, "%.*f", digits > whole ? digits - whole : 0, size);
	} else if (size < 0.01 && size >= 1e-6) {
		fprintf(out, "%.*f", digits - 1 - (int)floor(log10(size)), size);
	} else {
		fprintf(out, "%.*g", digits > 0 ? digits : 6, size);
	}
}

void aqm_html_interval(FILE *out, double value, double low, double high, int digits)
{
	aqm_html_number(out, value, digits);
	if (!isfinite(low) || !isfinite(high) || low == high)
		return;
	fputs(" <span class=\"ci\">", out);
	aqm_html_number(out, low, digits - 1);
	fputs(" to ", out);
	aqm_html_number(out, high, digits - 1);
	fputs("</span>", out);
}

void aqm_html_cell(FILE *out, double value, int digits)
{
	fputs("<td class=\"n\">", out);
	aqm_html_number(out, value, digits);
	fputs("</td>", out);
}

void aqm_html_cell_text(FILE *out, const char *text)
{
	fputs("<td>", out);
	aqm_html_text(out, text);
	fputs("</td>", out);
}

/* ---- tables ---- */

void aqm_html_header(FILE *out, const char *const *names)
{
	fputs("<thead><tr>", out);
	for (; *names; names++) {
		fputs("<th scope=\"col\">", out);
		aqm_html_text(out, *names);
		fputs("</th>", out);
	}
	fputs("</tr></thead>\n", out);
}

void aqm_html_table_begin(FILE *out, const char *label, const char *class_name)
{
	fputs("<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"", out);
	aqm_html_text(out, label);
	fprintf(out, "\"><table class=\"%s\">\n", class_name);
}

void aqm_html_table_end(FILE *out)
{
	fputs("</table></div>\n", out);
}

/* ---- the frame of the page ---- */

/* Colours are variables, so that plots follow light and dark too; the eight series keep their order in both. */
static const char style[] =
	":root{color-scheme:light "
	"dark;--page:#f6f6f4;--card:#fff;--ink:#191918;--ink2:#55544f;--line:#dddcd7;--grid:#e6e5e1;"
	"--soft:#f1f0ec;--accent:#1f6fd0;--good:#0d7a45;--bad:#b3261e;--warn:#fff4d6;--warnink:#5c4300;"
	"--s1:#2a78d6;--s2:#d1591f;--s3:#158a60;--s4:#7a4fc9;--s5:#b8860b;--s6:#c63d6f;--s7:#00838f;--s8:#6f6e69}\n"
	"@media "
	"(prefers-color-scheme:dark){:root{--page:#131312;--card:#1c1c1a;--ink:#f0efea;--ink2:#b3b1a9;--line:#3a3936;--"
	"grid:#32312e;"
	"--soft:#262523;--accent:#7ab3f5;--good:#5fcb94;--bad:#ff8a80;--warn:#3b3012;--warnink:#f3dfa6;"
	"--s1:#5aa2f0;--s2:#ef8a52;--s3:#3fbf8d;--s4:#ae8cf0;--s5:#dcb040;--s6:#f07ba3;--s7:#45bccb;--s8:#a3a199}}\n"
	"*{box-sizing:border-box}\n"
	"html{-webkit-text-size-adjust:100%}\n"
	"body{margin:0;background:var(--page);color:var(--ink);font:16px/1.55 system-ui,-apple-system,'Segoe "
	"UI',Roboto,'Helvetica Neue',"
	"Arial,sans-serif}\n"
	"main,header,footer{max-width:1120px;margin:0 auto;padding:0 20px}\n"
	"header{padding-top:36px}\n"
	"h1{font-size:1.9rem;line-height:1.2;margin:0 0 6px;letter-spacing:-.01em;overflow-wrap:anywhere}\n"
	"h2{font-size:1.3rem;margin:44px 0 10px;padding-top:18px;border-top:1px solid var(--line)}\n"
	"h3{font-size:1.02rem;margin:26px 0 8px}\n"
	"p{margin:8px 0;max-width:74ch}\n"
	".lead{color:var(--ink2);margin-bottom:14px}\n"
	"a{color:var(--accent)}\n"
	"nav{margin:14px 0 0;display:flex;flex-wrap:wrap;gap:6px 16px;font-size:.92rem}\n"
	"code{font:.88em/1.4 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}\n"
	".verdicts{list-style:none;margin:18px 0 "
	"0;padding:0;display:grid;gap:12px;grid-template-columns:repeat(auto-fit,minmax(min(100%,310px),1fr))}\n"
	".verdicts li{background:var(--card);border:1px solid var(--line);border-left:4px solid "
	"var(--ink2);border-radius:8px;padding:12px 16px}\n"
	".verdicts li.good{border-left-color:var(--good)}.verdicts li.bad{border-left-color:var(--bad)}\n"
	".verdicts b{display:block;overflow-wrap:anywhere}.verdicts "
	".big{font-size:1.7rem;line-height:1.25;font-variant-numeric:tabular-nums}\n"
	".verdicts small{color:var(--ink2)}\n"
	".scroll{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:8px;margin:10px 0}\n"
	".scroll:focus-visible{outline:2px solid var(--accent)}\n"
	"table{border-collapse:collapse;width:100%;font-size:.9rem}\n"
	"th,td{padding:7px 12px;text-align:left;border-bottom:1px solid var(--line);vertical-align:top}\n"
	"tbody tr:last-child>*{border-bottom:0}\n"
	"thead th{color:var(--ink2);font-weight:600;vertical-align:bottom;min-width:5em}\n"
	"tbody th{font-weight:500;min-width:9.5em}\n"
	".n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}thead th.n{text-align:right}\n"
	".num td,.num thead th+th{text-align:right;font-variant-numeric:tabular-nums}\n"
	".ci,.dim{color:var(--ink2);font-size:.86em}.ci{display:block}\n"
	".verdict td:last-child,.closed td:last-child{min-width:11em}\n"
	"tr.base{background:var(--soft)}\n"
	"tr.diff>*{background:color-mix(in srgb,var(--s5) 16%,var(--card))}\n"
	"tr.group>*{font-weight:600;background:var(--soft)}\n"
	".good{color:var(--good)}.bad{color:var(--bad)}\n"
	".verdicts li.good,.verdicts li.bad{color:inherit}\n"
	".figures{display:grid;gap:18px;grid-template-columns:repeat(auto-fit,minmax(min(100%,460px),1fr));margin:12px 0}\n"
	"figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:8px;padding:14px "
	"16px;min-width:0}\n"
	"figure h3{margin:0 0 2px}figure>p{margin:0 0 6px;color:var(--ink2);font-size:.9rem}\n"
	"figure svg{display:block;width:100%;height:auto;font-family:inherit}\n"
	".legend{display:flex;flex-wrap:wrap;gap:2px 16px;list-style:none;margin:4px 0 6px;padding:0;font-size:.88rem}\n"
	".legend li{display:flex;align-items:center;gap:7px;overflow-wrap:anywhere}.legend "
	"svg{width:26px;height:12px;flex:none}\n"
	"figcaption{font-size:.8rem;color:var(--ink2);margin-top:6px}\n"
	"details{font-size:.86rem;margin-top:6px}summary{cursor:pointer;color:var(--accent)}\n"
	"details .scroll{max-height:320px;overflow-y:auto}\n"
	".matrices{display:grid;gap:18px;grid-template-columns:repeat(auto-fill,minmax(min(100%,340px),1fr))}\n"
	".heat th,.heat thead th{min-width:0;padding-right:6px}.heat td{white-space:nowrap;padding-right:8px}\n"
	".heat td{background:color-mix(in srgb,var(--s1) "
	"calc(var(--p,0)*62%),var(--card));text-align:right;font-variant-numeric:tabular-nums}\n"
	".note{background:var(--warn);color:var(--warnink);border-radius:8px;padding:9px "
	"14px;font-size:.92rem;max-width:none}\n"
	"footer{color:var(--ink2);font-size:.86rem;padding-bottom:48px;margin-top:44px;border-top:1px solid "
	"var(--line);padding-top:14px}\n"
	"@media "
	"(max-width:560px){body{font-size:15px}main,header,footer{padding-left:14px;padding-right:14px}h1{font-size:1.5rem}"
	"th,td{padding:6px 9px}figure{padding:12px 10px}}\n"
	"@media print{:root{color-scheme:light}body{background:#fff}nav{display:none}figure,.scroll{break-inside:avoid}}\n";

void aqm_html_head(FILE *out, const char *title)
{
	/* Nothing may be fetched, whatever slips in: the policy says so to the browser. */
	fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\" />\n"
	      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\" />\n"
	      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
	      "img-src data:\" />\n"
	      "<meta name=\"generator\" content=\"aqmtrain " AQM_VERSION "\" />\n"
	      "<link rel=\"icon\" href=\"data:,\" />\n<title>",
	      out);
	aqm_html_text(out, title);
	fputs("</title>\n<style>\n", out);
	fputs(style, out);
	fputs("</style>\n</head>\n<body>\n", out);
}

void aqm_html_tail(FILE *out)
{
	fputs("</body>\n</html>\n", out);
}
