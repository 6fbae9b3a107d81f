# SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-or-later
# shellcheck shell=bash
# Completion of erofs-convert(1) for bash: verbs, options, transports, files.

# Sets _ec_words (the words before the one being completed), _ec_cur (that one, whole) and
# _ec_left, the part of it that bash takes as done: it splits words at the ":" and "=" in
# COMP_WORDBREAKS, and what is offered must begin behind the last of them.
_erofs_convert_words()
{
	local line=${COMP_LINE:0:COMP_POINT} mark left

	# Blanks part words; a backslash keeps one.
	line=${line//\\ /$'\001'}
	read -ra _ec_words <<<"$line"
	case $line in
	*[[:blank:]] | '') _ec_words+=("") ;;
	esac
	_ec_cur=${_ec_words[${#_ec_words[@]} - 1]//$'\001'/\\ }
	unset "_ec_words[${#_ec_words[@]} - 1]"
	_ec_left=
	for mark in : =; do
		case $COMP_WORDBREAKS in
		*"$mark"*) ;;
		*) continue ;;
		esac
		left=${_ec_cur%"${_ec_cur##*"$mark"}"}
		[ ${#left} -gt ${#_ec_left} ] && _ec_left=$left
	done
}

_erofs_convert_offer() # WORD...
{
	local word

	for word; do
		case $word in
		"$_ec_cur"*) COMPREPLY+=("${word#"$_ec_left"}") ;;
		esac
	done
}

# Files (-f) or directories (-d) behind a prefix such as "oci:". bash puts a slash behind a
# directory and backslashes where they are needed (-o filenames).
_erofs_convert_files() # -f|-d PREFIX
{
	local rest=${_ec_cur#"$2"} name
	local -a found

	mapfile -t found < <(compgen "$1" -- "${rest//\\/}")
	for name in "${found[@]}"; do
		name=$2$name
		COMPREPLY+=("${name#"$_ec_left"}")
	done
	compopt -o filenames -o nospace 2>/dev/null
}

# The tags of the layout that is named.
_erofs_convert_tags()
{
	local dir=${_ec_cur#oci:} tag
	local -a tags

	dir=${dir%%:*}
	command -v jq >/dev/null || return 0
	mapfile -t tags < <(jq -r \
		'.manifests[].annotations["org.opencontainers.image.ref.name"] // empty' \
		"${dir/#\~\//$HOME/}/index.json" 2>/dev/null)
	for tag in "${tags[@]}"; do
		_erofs_convert_offer "oci:$dir:$tag"
	done
}

_erofs_convert_image() # TRANSPORT...
{
	case $_ec_cur in
	oci:*:*) _erofs_convert_tags ;;
	oci:*) _erofs_convert_files -d oci: ;;
	oci-archive:*) _erofs_convert_files -f oci-archive: ;;
	docker-archive:*) _erofs_convert_files -f docker-archive: ;;
	tar:*,*) _erofs_convert_files -f "${_ec_cur%,*}," ;;
	tar:*) _erofs_convert_files -f tar: ;;
	*)
		_erofs_convert_offer "$@"
		compopt -o nospace 2>/dev/null
		;;
	esac
}

# Those of one registry, and of a source's and a destination's.
_ec_registry=(--authfile --creds --no-creds --registry-token --tls-verify --cert-dir --plain-http \
	--retry-times)
_ec_registry_two=(--authfile --tls-verify --retry-times "${_ec_registry[@]/#--/--src-}" \
	"${_ec_registry[@]/#--/--dest-}")
_ec_registry_push=("${_ec_registry[@]}" "${_ec_registry[@]/#--/--src-}" "${_ec_registry[@]/#--/--dest-}")

_erofs_convert_option_value() # OPTION
{
	case $1 in
	--against)
		_erofs_convert_image oci: oci-archive: docker-archive: docker:// tar:
		return 0
		;;
	--compression) _erofs_convert_offer none zstd zstd:1 zstd:3 zstd:6 zstd:9 zstd:19 ;;
	--frame-size) _erofs_convert_offer 64K 128K 256K 512K 1M 2M 4M ;;
	--chunk-size) _erofs_convert_offer 4K 8K 16K 32K 64K 128K 256K 512K 1M ;;
	--min-match | --min-hole) _erofs_convert_offer 4K 8K 16K 32K 64K 1M ;;
	--platform) _erofs_convert_offer linux/386 linux/amd64 linux/arm/v6 linux/arm/v7 \
		linux/arm64 linux/ppc64le linux/riscv64 linux/s390x ;;
	--progress) _erofs_convert_offer auto plain none ;;
	--transport) _erofs_convert_offer auto fanotify fuse-device cachefiles fuse ;;
	--socket-mode) _erofs_convert_offer 0600 0660 0666 ;;
	--socket | --config | --metrics) _erofs_convert_files -f "" ;;
	--deadline) _erofs_convert_offer 10 60 300 ;;
	--prefetch) _erofs_convert_offer none background all ;;
	--keep | --store-limit) _erofs_convert_offer 1G 10G 100G ;;
	--upper | --store | --cert-dir | --src-cert-dir | --dest-cert-dir) _erofs_convert_files -d "" ;;
	--digestfile | --authfile | --src-authfile | --dest-authfile) _erofs_convert_files -f "" ;;
	--mount-from | --creds | --src-creds | --dest-creds | --registry-token | --src-registry-token | \
		--dest-registry-token | --retry-times | --src-retry-times | --dest-retry-times) ;;
	--files | --jobs | -j) ;;
	*) return 1 ;;
	esac
}

_erofs_convert()
{
	local _ec_cur _ec_left verb word previous position=0 i option
	local -a _ec_words
	local -a options

	COMPREPLY=()
	_erofs_convert_words
	if [ ${#_ec_words[@]} -lt 2 ]; then
		_erofs_convert_offer convert push mount umount serve status check inspect unpack store help --help --version
		return
	fi
	verb=${_ec_words[1]}
	case $verb in
	convert) options=(--platform --all --all-platforms --compression --frame-size --chunk-size --min-match --min-hole \
		--keep-original --subject --mount-from --digestfile --jobs "${_ec_registry_two[@]}") ;;
	push) options=(--platform --all --all-platforms --mount-from --digestfile "${_ec_registry_push[@]}") ;;
	mount) options=(--rw --upper --transport --strict --socket --prefetch --foreground --store --store-limit --jobs --platform "${_ec_registry[@]}") ;;
	check) options=(--against --platform --jobs "${_ec_registry[@]}") ;;
	inspect) options=(--files --raw --config --platform "${_ec_registry[@]}") ;;
	unpack) options=(--platform --jobs "${_ec_registry[@]}") ;;
	store) options=(--store --keep) ;;
	umount | status) options=(--socket) ;;
	serve) options=(--store --store-limit --deadline --socket --socket-mode --config --transport --strict --metrics) ;;
	*) return ;;
	esac

	# How many arguments come before the word; an option's value is none.
	previous=
	for ((i = 2; i < ${#_ec_words[@]}; i++)); do
		word=${_ec_words[i]}
		case $previous in
		--against | --compression | --frame-size | --chunk-size | --min-match | --min-hole | --platform | --progress | --jobs | -j | \
			--transport | --prefetch | --socket | --socket-mode | --config | --metrics | --deadline | \
			--files | --upper | --store | --store-limit | --keep | --mount-from | --digestfile | --*authfile | \
			--creds | --src-creds | --dest-creds | --*registry-token | --*cert-dir | --*retry-times)
			previous=
			continue
			;;
		esac
		previous=$word
		case $word in
		-?*) ;;
		*) position=$((position + 1)) ;;
		esac
	done
	[ -n "$previous" ] && _erofs_convert_option_value "$previous" && return

	case $_ec_cur in
	--*=*)
		option=${_ec_cur%%=*}
		_ec_cur=${_ec_cur#*=}
		case $_ec_left in
		*=*) _ec_left=${_ec_left#*=} ;;
		*) return ;; # "=" does not split words here: nothing that bash would take
		esac
		case $option in # its value never is the next word
		--tls-verify | --src-tls-verify | --dest-tls-verify) _erofs_convert_offer true false ;;
		*) _erofs_convert_option_value "$option" ;;
		esac
		return
		;;
	-*)
		_erofs_convert_offer "${options[@]}" --json --quiet --debug --progress --help --version
		return
		;;
	esac

	case $verb:$position in
	convert:0) _erofs_convert_image oci: oci-archive: docker-archive: docker:// tar: ;;
	convert:1) _erofs_convert_image oci: oci-archive: docker:// ;;
	push:0) _erofs_convert_image oci: oci-archive: docker:// ;;
	push:1) _erofs_convert_image docker:// ;;
	mount:0) _erofs_convert_image oci: docker:// ;;
	check:0 | inspect:0 | unpack:0) _erofs_convert_image oci: oci-archive: docker:// ;;
	mount:1) _erofs_convert_files -d "" ;;
	unpack:1) _erofs_convert_files -f "" ;;
	store:0) _erofs_convert_offer ls prune ;;
	umount:0)
		# What may be unmounted: the EROFS mounts and our overlays, else any directory.
		mapfile -t options < <(awk '/ - erofs | - fuse.erofs-convert | - overlay erofs-convert:/ { print $5 }' \
			/proc/self/mountinfo 2>/dev/null)
		_erofs_convert_offer "${options[@]}"
		[ ${#COMPREPLY[@]} -gt 0 ] || _erofs_convert_files -d ""
		;;
	esac
}

complete -F _erofs_convert erofs-convert
