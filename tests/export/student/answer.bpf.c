/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0
 *
 * A tc program that answers records: each "packet" is an Ethernet header and a record; the answer is what the program returns.
 */
#include <stdint.h>

#include <linux/bpf.h>

#include "student.h"

#define SECTION(name) __attribute__((section(name), used))

static void *(*const map_lookup_elem)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;

struct {
	int (*type)[BPF_MAP_TYPE_ARRAY];
	int (*max_entries)[1];
	uint32_t *key;
	struct aqm_student_state *value;
} states SECTION(".maps");

SECTION("tc")
int answer(struct __sk_buff *skb)
{
	char *data = (char *)(long)skb->data, *end = (char *)(long)skb->data_end;
	struct aqm_student_record record;
	uint32_t zero = 0;
	struct aqm_student_state *state = map_lookup_elem(&states, &zero);

	if (!state || data + 14 + sizeof record > end)
		return 99;
	__builtin_memcpy(&record, data + 14, sizeof record);
	return aqm_student_decide(state, &record);
}

const char terms[] SECTION("license") = "Dual BSD/GPL";
