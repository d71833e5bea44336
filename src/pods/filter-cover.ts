/**
 * True when every topic that matches `asked` also matches `policy`; both are MQTT topic filters (MQTT 5 §4.7).
 * An invalid filter is covered by nothing.
 */
export function covers(policy: string, asked: string): boolean {
  if (!isFilter(policy) || !isFilter(asked)) return false;
  // `+/#` is another way to write `#`: every topic has a first level.
  const wide = (policy === '+/#' ? '#' : policy).split('/');
  const narrow = asked.split('/');
  for (let level = 0; ; level++) {
    const outer = wide[level];
    const inner = narrow[level];
    // `a/#` matches `a` too, so it may stand one level past the end of what is asked.
    if (outer === '#') return true;
    if (outer === undefined || inner === undefined) return outer === inner;
    if (inner === '#' || (outer !== '+' && outer !== inner)) return false;
  }
}

function isFilter(filter: string): boolean {
  if (filter === '' || filter.length > 1024 || filter.includes('\0') || filter.startsWith('$')) return false;
  const levels = filter.split('/');
  return levels.every(
    (level, index) => level === '+' || (level === '#' && index === levels.length - 1) || !/[+#]/.test(level),
  );
}
