"""The one place where the version of the project stands."""

VERSION = "0.1.0"
