#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
# Make ./configure from configure.ac.
cd "$(dirname "$0")" && exec autoreconf --install
