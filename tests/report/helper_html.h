/* SPDX-License-Identifier: BSD-2-Clause
 *
 * Is a page what we promise: well-formed, complete by itself, and with words for its pictures?
 */
#ifndef HELPER_HTML_H
#define HELPER_HTML_H

/* NULL, or what is wrong and where (static text). Checks: elements are nested and closed, attributes quoted and not repeated, references to
 * characters known; ids unique, and what is referred to is there; nothing is fetched (src, href, url(), @import) but data: and #places;
 * no <script> and no on... handler; every <svg> is hidden or has role="img" with a title and a desc; every figure has a caption. */
const char *html_fault(const char *html);

#endif
