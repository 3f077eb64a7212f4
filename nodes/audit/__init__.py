"""What is handed to an auditor: one archive that verifies itself, the control map and the self-assessment in it."""
