#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
#
# check-includes.sh SOURCE_DIR: includes point down the house, and only cli/ prints or exits.
cd "${1:-.}" || exit 2
awk '
BEGIN {
	# A room may include itself and every room named before it.
	split("base ranks config pool gguf compute model policy sim train eval distill export report lib cli", order, " ")
	for (i in order) height[order[i]] = i + 0
	public["error"] = "base"
	public["aqmtrain"] = "base" # its types are for every room; its functions are made in lib/
	public["student"] = "distill"
	public["utility"] = "sim"
}
function room_of(path,   part, n) {
	n = split(path, part, "/")
	if (part[1] == "src" || part[1] == "include") { # a file
		if (part[1] == "src") return part[2]
		path = part[n]
	} else if (part[1] != "aqmtrain") # an include
		return part[1]
	else
		path = part[2]
	sub(/\.[a-z]+$/, "", path)
	return path in public ? public[path] : path
}
function complain(text) { printf "%s:%d: %s\n", FILENAME, FNR, text; bad = 1 }
FNR == 1 { room = room_of(FILENAME); files++; if (!(room in height)) complain("unknown room \"" room "\"") }
/^[ \t]*#[ \t]*include[ \t]*"/ {
	split($0, quoted, "\"")
	target = quoted[2] ~ /\// ? room_of(quoted[2]) : "a bare name"
	if (!(target in height)) complain("includes \"" quoted[2] "\": unknown room \"" target "\"")
	else if (height[target] > height[room]) complain(room " includes \"" quoted[2] "\", which lies above it")
}
room != "cli" && !/^[ \t]*(\/\*|\*|\/\/)/ {
	line = $0
	gsub(/"([^"\\]|\\.)*"/, "\"\"", line) # words in strings do not count,
	gsub(/\/\*.*\*\//, "", line)          # nor in comments
	if (line ~ /(^|[^A-Za-z0-9_])((v?printf|puts|putchar|perror|exit|_exit|abort)[ \t]*\(|stdout|stderr)/)
		complain("only cli/ prints or exits")
}
END { if (!files) print "no sources found"; exit bad || !files }
' $(find src include -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' | sort) </dev/null
