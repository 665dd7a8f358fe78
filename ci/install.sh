#!/bin/sh
# install.sh FOR PACKAGE...: installs Debian's packages, or says in one line what is
# missing and fails. Servers among them are not started: tests start their own.
set -eu
name=$1
shift
die() { echo "$name: $*" >&2; exit 1; }
command -v apt-get >/dev/null || die "missing, and no apt-get to install: $*"
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo
[ -z "$sudo" ] || command -v sudo >/dev/null || die "missing, and neither root nor sudo to install: $*"
log=$(mktemp)
policy=/usr/sbin/policy-rc.d
if [ -e $policy ]; then
  trap 'rm -f "$log"' EXIT
else
  trap 'rm -f "$log"; $sudo rm -f $policy' EXIT
  printf '#!/bin/sh\nexit 101\n' | $sudo tee $policy >/dev/null
  $sudo chmod 755 $policy
fi
echo "$name: installing $*"
$sudo apt-get update >"$log" 2>&1 && $sudo apt-get install -y --no-install-recommends "$@" >>"$log" 2>&1 ||
  { tail -5 "$log" >&2; die "could not install $*"; }
