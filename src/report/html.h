/* SPDX-License-Identifier: BSD-2-Clause
 *
 * HTML that is well-formed XML too. Whatever comes from a file goes through aqm_html_text().
 */
#ifndef AQM_REPORT_HTML_H
#define AQM_REPORT_HTML_H

#include <stdio.h>

#include "aqmtrain/error.h"

/* Text or an attribute's value: markup escaped, control characters and broken UTF-8 as U+FFFD. */
void aqm_html_text(FILE *out, const char *text);
/* The same of printf. */
void aqm_html_textf(FILE *out, const char *format, ...) AQM_PRINTF(2, 3);

/* A number with so many significant digits; 0 digits: to the next whole number. A dash for what is not finite. */
void aqm_html_number(FILE *out, double value, int digits);
/* <td class="n">, right-aligned. */
void aqm_html_cell(FILE *out, double value, int digits);
/* With its interval in small below: "11.9 to 12.8"; not when that is not finite, or a point. */
void aqm_html_interval(FILE *out, double value, double low, double high, int digits);
/* <td> of text. */
void aqm_html_cell_text(FILE *out, const char *text);
/* A row of <th scope="col">, NULL-terminated. */
void aqm_html_header(FILE *out, const char *const *names);

/* A table that scrolls by itself on a narrow screen. `caption` may be NULL; `label` is what a screen reader says. */
void aqm_html_table_begin(FILE *out, const char *label, const char *class_name);
void aqm_html_table_end(FILE *out);

void aqm_html_head(FILE *out, const char *title);
void aqm_html_tail(FILE *out);

#endif
