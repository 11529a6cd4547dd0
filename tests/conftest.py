"""Makes the modules beside this file (`oracles`) importable from every test folder."""
