# SPDX-License-Identifier: BSD-2-Clause
# Bash completion of aqmtrain: what its --help says.

_aqmtrain()
{
	local word=${COMP_WORDS[COMP_CWORD]} help path=() i

	for ((i = 1; i < COMP_CWORD && i < 3; i++)); do
		[[ ${COMP_WORDS[i]} == -* ]] && break
		path+=("${COMP_WORDS[i]}")
	done
	help=$("${COMP_WORDS[0]}" "${path[@]}" --help 2>/dev/null) || help=$("${COMP_WORDS[0]}" "${path[@]:0:1}" --help 2>/dev/null)
	if [[ $help == *$'\nCommands:\n'* && $word != -* ]]; then
		COMPREPLY=($(compgen -W "$(sed -n '/^Commands:/,/^$/s/^  \([a-z][a-z-]*\) .*/\1/p' <<<"$help")" -- "$word"))
	elif [[ $word == -* ]]; then
		COMPREPLY=($(compgen -W "$(grep -oE '^ +(-[a-zA-Z?], )?--[a-z-]+' <<<"$help" | grep -oE -- '--[a-z-]+')" -- "$word"))
	else
		COMPREPLY=($(compgen -f -- "$word"))
	fi
}
complete -o filenames -F _aqmtrain aqmtrain
