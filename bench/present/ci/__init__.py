"""Files that CI services read: a row each in `formats`, and a module each that writes one."""
