# musl's static link needs an unwinder under the name that rustc asks for. gcc's own serves, together with the one
# function that only glibc has.
#   unwinder.sh DIRECTORY SOURCE
set -eu
source=$2
mkdir -p "$1"
cd "$1"
musl-gcc -O2 -fPIC -Wall -Werror -c "$source" -o find_object.o
ar -M <<EOF
create libunwind.a
addlib $(gcc -print-file-name=libgcc_eh.a)
addlib $(gcc -print-file-name=libgcc.a)
addmod find_object.o
save
end
EOF
