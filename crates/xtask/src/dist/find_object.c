/* gcc's unwinder asks glibc's _dl_find_object where the unwind tables of a program counter are, and takes a failure
 * as "there are none", which turns every panic into an abort. musl has no such function; this one answers from the
 * program headers. The struct is glibc's <dlfcn.h> dl_find_object, as it is on x86-64 and AArch64. */
#define _GNU_SOURCE
#include <link.h>
#include <stdint.h>

struct object {
  unsigned long long flags;
  void *map_start;
  void *map_end;
  struct link_map *link_map;
  void *eh_frame;
  unsigned long long reserved[7];
};

struct query {
  uintptr_t pc;
  struct object *object;
};

static int look(struct dl_phdr_info *info, size_t size, void *data) {
  struct query *query = data;
  uintptr_t start = 0, end = 0, eh_frame = 0;
  (void)size;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *header = &info->dlpi_phdr[i];
    uintptr_t at = info->dlpi_addr + header->p_vaddr;
    if (header->p_type == PT_LOAD && query->pc - at < header->p_memsz) {
      start = at;
      end = at + header->p_memsz;
    } else if (header->p_type == PT_GNU_EH_FRAME) {
      eh_frame = at;
    }
  }
  if (end == 0 || eh_frame == 0)
    return 0;
  query->object->flags = 0;
  query->object->map_start = (void *)start;
  query->object->map_end = (void *)end;
  query->object->link_map = 0;
  query->object->eh_frame = (void *)eh_frame;
  return 1;
}

int _dl_find_object(void *pc, struct object *object) {
  struct query query = {(uintptr_t)pc, object};
  return dl_iterate_phdr(look, &query) ? 0 : -1;
}
