/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later */
/*
 * Little-endian integers in byte buffers: the only way on-disk integers are read and written.
 */
#ifndef FMT_LE_H
#define FMT_LE_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define FMT_LE_PAIR(bits)                                          \
	static inline uint##bits##_t get_le##bits(const void *p)   \
	{                                                          \
		uint##bits##_t v;                                  \
		memcpy(&v, p, sizeof(v));                          \
		return le##bits##toh(v);                           \
	}                                                          \
	static inline void put_le##bits(void *p, uint##bits##_t v) \
	{                                                          \
		v = htole##bits(v);                                \
		memcpy(p, &v, sizeof(v));                          \
	}

FMT_LE_PAIR(16)
FMT_LE_PAIR(32)
FMT_LE_PAIR(64)

#endif
