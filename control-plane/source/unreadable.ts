// A policy directory that cannot be read, told the same way by the control plane and by `weft check`.

/** What to do about it; null when the error is none of the file system's. */
export function unreadableDirectory(directory: string, error: Error): string | null {
  const { code, syscall } = error as NodeJS.ErrnoException;
  if (code === undefined || syscall === undefined) return null;
  switch (code) {
    case 'ENOENT':
      return `the policy directory ${directory} is not there (ENOENT); is the path right?`;
    case 'ENOTDIR':
      return `${directory} is no directory (ENOTDIR); name the directory that holds it`;
    default:
      return `the policy directory ${directory} cannot be read (${code}); may this user read it?`;
  }
}
