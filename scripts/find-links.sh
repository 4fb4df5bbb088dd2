# To be sourced from the repository's root once .venv has pip: uv does not read pip's find-links setting, and where there is
# one, a build of torch may lie in it.
links=$(.venv/bin/python -m pip config list 2>/dev/null | sed -n "s/^.*find-links='\(.*\)'$/\1/p" | head -1)
[ -z "$links" ] || export UV_FIND_LINKS="${links// /,}"
