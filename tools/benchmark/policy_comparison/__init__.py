"""What ``compare_policies.py`` compares, and how."""
