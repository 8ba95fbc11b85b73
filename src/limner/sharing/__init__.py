"""What leaves the machine: exported generators, the page, the hub."""
