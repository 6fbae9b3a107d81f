// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
/*
 * erofs-convert-holder -- PROGRAM ARGUMENT...
 *
 * The process that must not die: see keep.h and requests.h for what it does, and
 * docs/design.md for why it is a process of its own. It links nothing but libc.
 */
#include "config.h"

#include "lib/serve/holder/holder.h"

int main(int argc, char **argv)
{
	static struct holder holder;

	holder_start(&holder, argc, argv);
	holder_run(&holder);
}
