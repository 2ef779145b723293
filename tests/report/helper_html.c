/* SPDX-License-Identifier: BSD-2-Clause */
#include "helper_html.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 128, IDS_MAX = 4096, NAME = 64 };

static struct {
	const char *at;
	char open[DEPTH_MAX][NAME];
	size_t depth;
	char *ids[IDS_MAX], *references[IDS_MAX];
	size_t id_count, reference_count;
	bool caption, named_svg; /* of the figure, of the page's last <svg> */
	char fault[256];
} page;

static bool fail(const char *what)
{
	if (!*page.fault)
		snprintf(page.fault, sizeof page.fault, "%s: %.80s", what, page.at);
	return false;
}

static bool check_references(const char *text, size_t bytes)
{
	static const char *const names[] = {"&amp;", "&lt;", "&gt;", "&quot;"};

	for (const char *c = text; c < text + bytes; c++) {
		bool known = *c != '&' || (c[1] == '#' && isdigit((unsigned char)c[2]));

		for (size_t i = 0; !known && i < 4; i++)
			known = strncmp(c, names[i], strlen(names[i])) == 0;
		if (!known || (*c > 0 && *c < ' ' && *c != '\n' && *c != '\t'))
			return fail("a bare & or a control character");
	}
	return true;
}

static bool keep(char **list, size_t *count, const char *text, size_t bytes)
{
	if (*count == IDS_MAX)
		return fail("too many ids");
	list[(*count)++] = strndup(text, bytes);
	return true;
}

static bool is_known(const char *id)
{
	for (size_t i = 0; i < page.id_count; i++)
		if (strcmp(page.ids[i], id) == 0)
			return true;
	return false;
}

static bool check_address(const char *name, const char *value, size_t bytes)
{
	if (strcmp(name, "src") != 0 && strcmp(name, "href") != 0 && strcmp(name, "xlink:href") != 0 &&
	    strcmp(name, "action") != 0)
		return true;
	if (bytes > 1 && *value == '#')
		return keep(page.references, &page.reference_count, value + 1, bytes - 1);
	return strncmp(value, "data:", 5) == 0 ? true : fail("something is fetched");
}

static bool check_attribute(const char *element, const char *name, const char *value, size_t bytes)
{
	if (strncmp(name, "on", 2) == 0)
		return fail("a handler");
	if (strcmp(name, "id") == 0) {
		char *id = strndup(value, bytes);
		bool known = is_known(id);

		free(id);
		if (known || !keep(page.ids, &page.id_count, value, bytes))
			return fail("an id twice");
	}
	if (strcmp(name, "aria-labelledby") == 0)
		for (const char *c = value; c < value + bytes;) {
			size_t n = strcspn(c, " \"");

			if (!keep(page.references, &page.reference_count, c, n))
				return false;
			c += n + 1;
		}
	if (strcmp(element, "svg") == 0 &&
	    ((strcmp(name, "role") == 0 && strncmp(value, "img", 3) == 0) || strcmp(name, "aria-hidden") == 0))
		page.named_svg = true;
	if (strcmp(name, "style") == 0 && strstr(value, "url(") && strstr(value, "url(") < value + bytes)
		return fail("something is fetched by a style");
	return check_address(name, value, bytes) && check_references(value, bytes);
}

/* The attributes up to '>'; whether the tag closes itself. */
static bool read_attributes(const char *element, bool *closed)
{
	char seen[32][NAME];
	size_t count = 0;

	*closed = false;
	for (;;) {
		char name[NAME];
		size_t n;

		page.at += strspn(page.at, " \n\t");
		if (page.at[0] == '/' && page.at[1] == '>') {
			*closed = true;
			page.at += 2;
			return true;
		}
		if (*page.at == '>') {
			page.at++;
			return true;
		}
		n = strspn(page.at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-:");
		if (!n || n >= NAME || strncmp(page.at + n, "=\"", 2) != 0)
			return fail("an attribute is not name=\"value\"");
		snprintf(name, sizeof name, "%.*s", (int)n, page.at);
		for (size_t i = 0; i < count; i++)
			if (strcmp(seen[i], name) == 0)
				return fail("an attribute twice");
		if (count < 32)
			strcpy(seen[count++], name);
		const char *value = page.at + n + 2, *end = strchr(value, '"');
		if (!end || memchr(value, '<', (size_t)(end - value)))
			return fail("a value does not end");
		if (!check_attribute(element, name, value, (size_t)(end - value)))
			return false;
		page.at = end + 1;
	}
}

static bool end_element(const char *name)
{
	if (!page.depth || strcmp(page.open[page.depth - 1], name) != 0)
		return fail("elements overlap");
	page.depth--;
	if (strcmp(name, "figure") == 0 && !page.caption)
		return fail("a figure without caption ends here");
	return true;
}

static bool begin_element(const char *name)
{
	bool closed, svg = strcmp(name, "svg") == 0;

	if (strcmp(name, "script") == 0 || strcmp(name, "iframe") == 0 || strcmp(name, "object") == 0 ||
	    strcmp(name, "foreignObject") == 0)
		return fail("an element that has no place here");
	if (strcmp(name, "figure") == 0)
		page.caption = false;
	page.caption = page.caption || strcmp(name, "figcaption") == 0;
	page.named_svg = !svg && page.named_svg;
	if (!read_attributes(name, &closed))
		return false;
	if (svg && !page.named_svg)
		return fail("an svg without role=\"img\"");
	if (closed)
		return true;
	if (page.depth == DEPTH_MAX)
		return fail("too deep");
	strcpy(page.open[page.depth++], name);
	if (strcmp(name, "style") == 0) {
		const char *end = strstr(page.at, "</style>"), *fetch = strstr(page.at, "url("),
				   *import = strstr(page.at, "@import");

		if (!end || (fetch && fetch < end) || (import && import < end))
			return fail("the style fetches something");
		page.at = end;
	}
	return true;
}

static bool read_element(void)
{
	bool ends = page.at[1] == '/';
	const char *name_at = page.at + 1 + ends;
	size_t n = strspn(name_at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789");
	char name[NAME];

	if (!n || n >= NAME)
		return fail("a tag without name");
	snprintf(name, sizeof name, "%.*s", (int)n, name_at);
	page.at = name_at + n;
	if (!ends)
		return begin_element(name);
	if (*page.at++ != '>')
		return fail("an end tag does not end");
	return end_element(name);
}

static bool read_page(const char *html)
{
	static const char doctype[] = "<!DOCTYPE html>\n";

	page.at = html;
	if (strncmp(html, doctype, strlen(doctype)) != 0)
		return fail("no doctype");
	page.at += strlen(doctype);
	while (*page.at) {
		size_t text = strcspn(page.at, "<");

		if (!check_references(page.at, text) || memchr(page.at, '>', text))
			return fail("a bare & or >");
		page.at += text;
		if (*page.at && !read_element())
			return false;
	}
	if (page.depth)
		return fail("it ends too early");
	for (size_t i = 0; i < page.reference_count; i++)
		if (!is_known(page.references[i])) {
			page.at = page.references[i];
			return fail("a reference to what is not there");
		}
	return true;
}

const char *html_fault(const char *html)
{
	memset(&page, 0, sizeof page);
	bool good = read_page(html);

	for (size_t i = 0; i < page.id_count; i++)
		free(page.ids[i]);
	for (size_t i = 0; i < page.reference_count; i++)
		free(page.references[i]);
	return good ? NULL : page.fault;
}
