<?php
// SPDX-License-Identifier: MIT

/** A small model of FreePBX's module "backup": the bases of a module's Backup and Restore. */

namespace FreePBX\modules\Backup;

#[\AllowDynamicProperties]
class BackupBase
{
	public array $configs = [];
	public array $dependencies = [];

	final public function __construct($freepbx, $backupModVer, $logger, $transactionId, $modData, $defaultFallback)
	{
		$this->FreePBX = $freepbx;
	}

	public function runBackup($id, $transaction)
	{
	}

	public function addConfigs($settings)
	{
		$this->configs = $settings;
	}

	public function addDependency($dependency)
	{
		$this->dependencies[] = $dependency;
	}
}

#[\AllowDynamicProperties]
class RestoreBase
{
	private array $data;

	final public function __construct($freepbx, $backupModVer, $logger, $transactionId, $modData, $backupTmpDir, $defaultFallback)
	{
		$this->FreePBX = $freepbx;
		$this->data = $modData;
	}

	public function runRestore()
	{
	}

	public function processLegacy($pdo, $data, $tables, $unknownTables)
	{
	}

	public function getConfigs($options = [])
	{
		return $this->data['configs'];
	}
}
