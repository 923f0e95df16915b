"""What every room uses: errors, configuration, files, devices."""
