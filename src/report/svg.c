/* SPDX-License-Identifier: BSD-2-Clause
 *
 * gnuplot's SVG, made fit for the page. What is not on the lists is left out, so nothing can run or be fetched;
 * groups that draw nothing, half of what gnuplot writes, go.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "report/figure.h"
#include "report/html.h"

enum { NAME_MAX_BYTES = 32, DEPTH_MAX = 64 };

static const char *const elements[] = {"svg",  "g",       "defs",     "path", "rect", "circle", "ellipse",
                                       "line", "polygon", "polyline", "use",  "text", "tspan",  NULL};
static const char *const attributes[] = {"d",
                                         "x",
                                         "y",
                                         "width",
                                         "height",
                                         "r",
                                         "cx",
                                         "cy",
                                         "rx",
                                         "ry",
                                         "x1",
                                         "x2",
                                         "y1",
                                         "y2",
                                         "points",
                                         "transform",
                                         "text-anchor",
                                         "stroke-width",
                                         "stroke-dasharray",
                                         "stroke-linecap",
                                         "stroke-linejoin",
                                         "fill",
                                         "stroke",
                                         "color",
                                         "opacity",
                                         "fill-opacity",
                                         "stroke-opacity",
                                         "font-size",
                                         "font-weight",
                                         "font-style",
                                         "id",
                                         "href",
                                         "viewBox",
                                         NULL};

struct cleaner {
	const char *at, *end;
	const char *id;
	FILE *out;
	struct {
		const char *from; /* the tag of an element that has not been written yet; NULL: it has */
		size_t bytes;
		bool kept; /* on the list */
		char name[NAME_MAX_BYTES];
	} open[DEPTH_MAX];
	size_t depth;
	size_t skip; /* depth of the element that is left out with all in it; 0: none */
};

static bool listed(const char *const *list, const char *name, size_t bytes)
{
	for (; *list; list++)
		if (strlen(*list) == bytes && memcmp(*list, name, bytes) == 0)
			return true;
	return false;
}

/* ---- colours ---- */

/* The page's variable of a colour that gnuplot writes. */
static void put_colour(FILE *out, const char *value, size_t bytes)
{
	static const char *const plain[] = {"none", "currentColor", NULL};
	char text[32];
	unsigned red, green, blue;

	if (listed(plain, value, bytes)) {
		fwrite(value, 1, bytes, out);
		return;
	}
	snprintf(text, sizeof text, "%.*s", (int)(bytes < sizeof text ? bytes : sizeof text - 1), value);
	bool known = sscanf(text, "rgb( %u , %u , %u )", &red, &green, &blue) == 3 ||
	             sscanf(text, "#%2x%2x%2x", &red, &green, &blue) == 3;
	if (known && red == 0xa1 && green == 0 && blue >= 1 && blue <= AQM_FIGURE_COLOURS)
		fprintf(out, "var(--s%u)", blue);
	else if (known && red == 0xa1 && green == 0)
		fputs(blue == 0x0a ? "var(--ink2)" : blue == 0x0b ? "var(--line)" : "var(--grid)", out);
	else if (known && red == 255 && green == 255 && blue == 255)
		fputs("var(--card)", out);
	else
		fputs("var(--ink)", out);
}

/* ---- tags ---- */

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The next name="value" of a tag's inside; false at its end, or where it is no attribute. */
static bool next_attribute(const char **at, const char *end, const char **name, size_t *name_bytes, const char **value,
                           size_t *value_bytes)
{
	const char *p = *at;

	while (p < end && is_space(*p))
		p++;
	*name = p;
	while (p < end && *p != '=' && !is_space(*p))
		p++;
	*name_bytes = (size_t)(p - *name);
	while (p < end && is_space(*p))
		p++;
	if (p == end || *p != '=')
		return false;
	p++;
	while (p < end && is_space(*p))
		p++;
	if (p == end || (*p != '"' && *p != '\''))
		return false;
	const char *close = memchr(p + 1, *p, (size_t)(end - p - 1));
	if (!close)
		return false;
	*value = p + 1;
	*value_bytes = (size_t)(close - *value);
	*at = close + 1;
	return true;
}

/* Runs of white space as one space; markup cannot occur, as it ends a tag. */
static void put_value(FILE *out, const char *value, size_t bytes)
{
	bool gap = false, begun = false;

	for (size_t i = 0; i < bytes; i++) {
		char c = value[i];

		if (is_space(c)) {
			gap = begun;
			continue;
		}
		if (gap)
			fputc(' ', out);
		gap = false;
		begun = true;
		if (c != '"' && c != '<' && c != '>' && (unsigned char)c >= ' ')
			fputc(c, out);
	}
}

static void put_attribute(const struct cleaner *c, const char *name, size_t name_bytes, const char *value, size_t bytes)
{
	static const char *const colours[] = {"fill", "stroke", "color", NULL};

	if (name_bytes == 10 && memcmp(name, "xlink:href", 10) == 0) {
		name += 6;
		name_bytes = 4;
	}
	if (!listed(attributes, name, name_bytes) || memchr(value, '&', bytes))
		return;
	bool reference = name_bytes == 4 && memcmp(name, "href", 4) == 0,
		 id = name_bytes == 2 && memcmp(name, "id", 2) == 0;
	if (reference && (bytes < 2 || value[0] != '#'))
		return;
	fprintf(c->out, " %.*s=\"", (int)name_bytes, name);
	if (reference || id)
		fprintf(c->out, "%s%s-", reference ? "#" : "", c->id);
	if (listed(colours, name, name_bytes))
		put_colour(c->out, value, bytes);
	else
		put_value(c->out, value + reference, bytes - reference);
	fputc('"', c->out);
}

static void put_tag(const struct cleaner *c, const char *name, const char *inside, size_t bytes, bool closed)
{
	const char *at = inside, *end = inside + bytes, *key, *value;
	size_t key_bytes, value_bytes;
	bool drawing = strcmp(name, "g") != 0;

	fprintf(c->out, "<%s", name);
	while (next_attribute(&at, end, &key, &key_bytes, &value, &value_bytes))
		if (drawing || key_bytes != 2 || memcmp(key, "id", 2) != 0) /* nothing refers to groups */
			put_attribute(c, key, key_bytes, value, value_bytes);
	fputs(closed ? "/>" : ">", c->out);
}

/* Write the tags of the elements around that were put off. */
static void write_open(struct cleaner *c)
{
	for (size_t i = 0; i < c->depth; i++)
		if (c->open[i].from) {
			put_tag(c, c->open[i].name, c->open[i].from, c->open[i].bytes, false);
			c->open[i].from = NULL;
		}
}

/* ---- the document ---- */

static void put_svg(const struct cleaner *c, const char *inside, size_t bytes, const char *title, const char *desc)
{
	const char *at = inside, *key, *value;
	size_t key_bytes, value_bytes;

	fprintf(c->out, "<svg role=\"img\" aria-labelledby=\"%s-t %s-d\" xmlns=\"http://www.w3.org/2000/svg\"", c->id,
	        c->id);
	while (next_attribute(&at, inside + bytes, &key, &key_bytes, &value, &value_bytes))
		if (key_bytes == 7 && memcmp(key, "viewBox", 7) == 0)
			put_attribute(c, key, key_bytes, value, value_bytes);
	fprintf(c->out, "><title id=\"%s-t\">", c->id);
	aqm_html_text(c->out, title);
	fprintf(c->out, "</title><desc id=\"%s-d\">", c->id);
	aqm_html_text(c->out, desc);
	fputs("</desc>", c->out);
}

static int broken(const char *what)
{
	return aqm_error_set(AQM_EDATA, "gnuplot's SVG is not as expected: %s", what);
}

static int close_element(struct cleaner *c, const char *name, size_t bytes)
{
	if (!c->depth)
		return broken("an element ends that did not begin");
	c->depth--;
	if (strlen(c->open[c->depth].name) != bytes || memcmp(c->open[c->depth].name, name, bytes) != 0)
		return broken("elements overlap");
	if (c->skip) {
		if (c->depth < c->skip)
			c->skip = 0;
	} else if (!c->open[c->depth].from) {
		fprintf(c->out, "</%s>", c->open[c->depth].name);
	}
	return AQM_OK;
}

static int open_element(struct cleaner *c, const char *tag, size_t bytes, const char *title, const char *desc)
{
	bool closed = bytes && tag[bytes - 1] == '/';
	size_t name_bytes = 0;

	bytes -= closed;
	while (name_bytes < bytes && !is_space(tag[name_bytes]))
		name_bytes++;
	if (!name_bytes || name_bytes >= NAME_MAX_BYTES || c->depth == DEPTH_MAX)
		return broken("a name is too long, or elements lie too deep");
	const char *inside = tag + name_bytes;
	size_t inside_bytes = bytes - name_bytes;
	char name[NAME_MAX_BYTES];
	memcpy(name, tag, name_bytes);
	name[name_bytes] = '\0';
	bool kept = listed(elements, tag, name_bytes), root = strcmp(name, "svg") == 0;

	if (root != (c->depth == 0))
		return broken("the root is not svg");
	if (closed) {
		if (kept && !c->skip) {
			write_open(c);
			put_tag(c, name, inside, inside_bytes, true);
		}
		return AQM_OK;
	}
	memcpy(c->open[c->depth].name, name, sizeof name);
	c->open[c->depth].from = kept && !root ? inside : NULL;
	c->open[c->depth].bytes = inside_bytes;
	c->depth++;
	if (!kept && !c->skip)
		c->skip = c->depth;
	if (root)
		put_svg(c, inside, inside_bytes, title, desc);
	return AQM_OK;
}

/* Text is only drawn inside <text>. It is escaped already, and '<' begins a tag. */
static void put_text(struct cleaner *c, const char *text, size_t bytes)
{
	const char *name = c->depth ? c->open[c->depth - 1].name : "";

	if (c->skip || (strcmp(name, "text") != 0 && strcmp(name, "tspan") != 0))
		return;
	write_open(c);
	for (size_t i = 0; i < bytes; i++)
		if (text[i] == '>')
			fputs("&gt;", c->out);
		else
			fputc((unsigned char)text[i] < ' ' ? ' ' : text[i], c->out);
}

static int clean_all(struct cleaner *c, const char *title, const char *desc)
{
	int code = AQM_OK;

	while (code == AQM_OK && c->at < c->end) {
		const char *tag = memchr(c->at, '<', (size_t)(c->end - c->at));

		put_text(c, c->at, (size_t)((tag ? tag : c->end) - c->at));
		if (!tag)
			break;
		const char *close = memchr(tag, '>', (size_t)(c->end - tag));
		if (!close)
			return broken("a tag does not end");
		size_t bytes = (size_t)(close - tag) - 1;
		c->at = close + 1;
		if (tag[1] == '?' || tag[1] == '!') /* declarations; gnuplot writes no comments */
			continue;
		code = tag[1] == '/' ? close_element(c, tag + 2, bytes - 1) : open_element(c, tag + 1, bytes, title, desc);
	}
	if (code == AQM_OK && c->depth)
		code = broken("it ends too early");
	return code;
}

int aqm_svg_clean(const char *svg, size_t bytes, const char *id, const char *title, const char *desc, char **clean)
{
	struct cleaner c = {.at = svg, .end = svg + bytes, .id = id};
	size_t length;

	*clean = NULL;
	c.out = open_memstream(clean, &length);
	if (!c.out)
		return aqm_error_errno(AQM_ERUN, "cannot clean a plot");
	int code = clean_all(&c, title, desc);
	bool good = !ferror(c.out);
	if (fclose(c.out) != 0 || !good)
		code = aqm_error_set(AQM_ERUN, "no memory for a plot");
	if (code == AQM_OK && length == 0)
		code = broken("there is nothing in it");
	if (code != AQM_OK) {
		free(*clean);
		*clean = NULL;
	}
	return code;
}
