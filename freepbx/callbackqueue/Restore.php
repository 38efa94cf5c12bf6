<?php
// SPDX-License-Identifier: MIT

namespace FreePBX\modules\Callbackqueue;

use FreePBX\modules\Backup as Base;

class Restore extends Base\RestoreBase
{
	public function runRestore()
	{
		$this->FreePBX->Callbackqueue->loadSettings((array) $this->getConfigs());
	}

	public function processLegacy($pdo, $data, $tables, $unknownTables)
	{
		// There was no module for former versions of FreePBX.
	}
}
