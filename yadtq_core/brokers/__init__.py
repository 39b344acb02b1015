"""What carries messages: one package or module a broker, each opened by the scheme of its address."""
