/* SPDX-License-Identifier: BSD-2-Clause
 *
 * In place of libbpf's header: a BPF program as plain C, with one packet, one clock and maps of one entry.
 */
#ifndef SHIM_BPF_HELPERS_H
#define SHIM_BPF_HELPERS_H

#include <stdint.h>
#include <string.h>

#include <linux/bpf.h>

#define SEC(name)
#define __uint(name, value) int(*name)[value]
#define __type(name, type) type *name

static uint8_t shim_header[2]; /* of the packet: begin of its IP header */
static uint64_t shim_clock;    /* ns */
static int shim_locked;        /* helpers must not be called meanwhile */
static int shim_marks;         /* of bpf_skb_ecn_set_ce */

/* The value of a map's only entry, zeroed at first. */
static inline void *shim_value(const void *map, size_t bytes)
{
	static struct {
		const void *map;
		uint64_t value[512];
	} entries[8];

	for (size_t i = 0; bytes <= sizeof entries[i].value && i < sizeof entries / sizeof *entries; i++)
		if (!entries[i].map || entries[i].map == map) {
			entries[i].map = map;
			return entries[i].value;
		}
	return NULL;
}
#define bpf_map_lookup_elem(map, key) (*(key) == 0 && !shim_locked ? shim_value(map, sizeof *(map)->value) : NULL)

static inline uint64_t bpf_ktime_get_ns(void)
{
	return shim_clock;
}

static inline void bpf_spin_lock(struct bpf_spin_lock *lock)
{
	shim_locked += lock->val++ == 0 ? 1 : 100;
}

static inline void bpf_spin_unlock(struct bpf_spin_lock *lock)
{
	lock->val--;
	shim_locked--;
}

static inline long bpf_skb_load_bytes_relative(const struct __sk_buff *skb, uint32_t offset, void *to, uint32_t length,
                                               uint32_t start)
{
	if (shim_locked || start != BPF_HDR_START_NET || offset + length > sizeof shim_header || skb->len < 20)
		return -1;
	memcpy(to, shim_header + offset, length);
	return 0;
}

/* 1: the packet has CE now. */
static inline long bpf_skb_ecn_set_ce(struct __sk_buff *skb)
{
	int shift = (shim_header[0] >> 4) == 6 ? 4 : 0;

	if (shim_locked || !(shim_header[1] >> shift & 3) || skb->len < 20)
		return 0;
	shim_header[1] |= (uint8_t)(3 << shift);
	shim_marks++;
	return 1;
}

#endif
