# Pass pip's find-links setting, which may provide a build of torch, on to uv, which does not read it. Source this from
# the repository's root once .venv has pip.
links=$(.venv/bin/python -m pip config list 2>/dev/null | sed -n "s/^.*find-links='\(.*\)'$/\1/p" | head -1)
[ -z "$links" ] || export UV_FIND_LINKS="${links// /,}"
